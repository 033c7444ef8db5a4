"""The fusions, one file each: tokens and masks by modality in, the fused embedding out."""
