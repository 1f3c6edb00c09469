"""What a frame inherits from its parents: along a camera path, or along optical flow."""
