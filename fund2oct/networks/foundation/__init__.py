"""Photo encoders made of networks that others trained on many pictures; their weights lie on this machine.

=================== ===============================================================================
what lies there     what is built
=================== ===============================================================================
a folder            DINOv2, DINOv3, ViT, ViT-MAE or ConvNeXt of transformers, or a model of timm, as its
                    ``config.json`` says
a file              the model of timm that has its name; else a masked autoencoder as MAE and RETFound
                    write it
=================== ===============================================================================
"""
