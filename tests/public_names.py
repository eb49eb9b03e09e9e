"""What users may rely on; a change here is a change for them."""

PUBLIC = {
    "fund2oct.data": {
        "SCHEMA_VERSION", "DataError", "Eye", "EyeInfo", "EyeReader", "EyeWriter", "FundusOCTDataModule",
        "FundusOCTDataset", "Landmarks", "NotAFundusError", "PhantomDataModule", "PhotoPlacement",
        "RetinaCircle", "UnpairedDataModule", "crop_retina", "find_landmarks", "find_retina",
        "problems", "validate",
    },
    "fund2oct.export": {"FORMATS", "Format", "export_eye", "export_files"},
    "fund2oct.losses": {
        "ADVERSARIAL", "AdversarialLoss", "HingeLoss", "LeastSquaresLoss", "NonSaturatingLoss",
        "PerceptualLoss", "adversarial_loss", "axial_profile", "below_epithelium", "charbonnier_loss",
        "en_face_projection", "energy_score", "feature_matching_loss", "height_loss", "l1_loss",
        "local_mean_loss", "local_square_loss", "masked_mean", "normal_crps", "projection_loss",
        "r1_penalty", "shadow_loss", "slab_loss", "spread_loss", "ssim_loss",
        "surface_distances",
    },
    "fund2oct.metrics": {
        "KINDS", "DistanceResult", "EyeMean", "EyesInCommon", "Findings", "Fluid", "ImageDistance",
        "KindOverlap", "SharpnessRatio", "Surfaces", "ValidationMetrics", "VideoDistance",
        "ascan_area_mm2", "correlation_between_eyes",
        "deep_contrast", "elevation_um", "epithelium_height_um", "failed_share", "find_fluid", "find_kinds",
        "find_surfaces", "frechet_distance", "high_frequency_energy", "interval_coverage",
        "kernel_distance", "label_um", "layer_violations", "lesion_volume_mm3", "map_correlation",
        "measure_eyes", "measure_lesions", "measure_perceptual", "measure_surfaces", "ms_ssim_scales",
        "overlap", "pooled_correlation", "retina_local_mean",
        "slice_protocol", "surface_error_um", "true_kinds", "unweighted_perceptual_distance",
        "vessel_shadows", "volume_l1", "volume_ms_ssim", "volume_psnr", "volume_ssim",
    },
    "fund2oct.models": {
        "Batch", "CheckpointError", "Fake", "Losses", "Pix2Vol", "SurfaceModel", "Task", "TrainingData",
        "VolumeGAN", "VolumeModel", "VoxelGAN", "load_model",
    },
    "fund2oct.models.baselines": {"Pix2PixHD", "UNet3D", "X2CT"},
    "fund2oct.models.pretraining": {"MaskedModel", "MaskedPairs", "MaskedPhotos", "MaskedVolumes"},
    "fund2oct.networks.features": {
        "I3D", "OCT3D", "EfficientNetLite0", "EfficientNetLite1", "FeatureNetwork", "UserNetwork",
        "load_feature_network",
        "load_torch_fidelity", "load_torchscript", "load_torchvision",
    },
    "fund2oct.phantom": {
        "DIAGNOSES", "LESIONS", "Optics", "PhantomConfig", "SeenAnatomy", "simulate_behind_photo",
        "simulate_eye", "simulate_twins", "twin_boundaries",
    },
    "fund2oct.retina": {
        "ALIGNED_DEPTH", "BOUNDARIES", "N_POSE", "SURFACES", "LayerFrame", "PoseEstimate", "PoseModel",
        "RetinalBoundaries", "align", "aligned_mask", "apply_symmetry_to_pose", "boundary_index",
        "estimate_pose", "find_retina", "fit_pose", "from_layers", "pose_surface_um", "retinal_boundaries",
        "to_layers", "unalign",
    },
    "fund2oct.viewer": {"write_page"},
    "fund2oct.visual": {
        "DARK", "FIGURE_FORMATS", "LIGHT", "THEMES", "ShownVolume", "Theme", "draw_contact_sheet",
        "draw_panel", "draw_thickness", "save_figure", "save_figures",
    },
}  # fmt: skip

TOP = {
    "Eye", "EyeReader", "EyeWriter", "FundusOCTDataModule", "Pix2Vol", "Placement", "RadialScan",
    "RasterScan", "VolumeGAN", "VolumeModel", "evaluate", "load_model", "predict", "train",
}  # fmt: skip
