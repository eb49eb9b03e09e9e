"""Networks: photo encoder, lifts, volume decoder, discriminators and frozen feature networks."""
