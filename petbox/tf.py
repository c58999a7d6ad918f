"""TensorFlow, imported without its chatter.

The C++ side greets every process with lines about CPU features and a missing GPU that no reader
can act on; they are silenced before the import unless the user asked for them.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from petbox.errors import needs

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
logging.getLogger("absl").setLevel(logging.ERROR)
tf: Any = needs("tensorflow", "tf")  # it has no types
tf.get_logger().setLevel(logging.ERROR)
# Traces a function as it stands. AutoGraph would first rewrite every Keras layer that is called in
# it, which takes longer than building the detector; nothing in it needs that.
as_written: Any = tf.autograph.experimental.do_not_convert
