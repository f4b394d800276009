"""Files in and out: walking folders, decoding, tf.data loading, writing."""
