"""Detection and segmentation heads, built from the channels and strides that a backbone promises; none yet."""
