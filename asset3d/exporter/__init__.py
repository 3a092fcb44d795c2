"""Files of an asset: one file of this folder per format."""
