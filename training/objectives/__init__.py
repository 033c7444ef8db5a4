"""What is learned beside the labels: objectives over pairs, masked parts, order and matching of the modalities."""
