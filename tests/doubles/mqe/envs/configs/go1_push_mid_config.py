"""The active configuration: upstream's scripts copy here that of the object trained last, in this case the T block."""

import importlib.util
import os

from mqe import LEGGED_GYM_ROOT_DIR as _ROOT

_PATH = os.path.join(_ROOT, "task", "Tblock", "config.py")
_SPEC = importlib.util.spec_from_file_location("mqe_last_trained", _PATH)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

Go1PushMidCfg = _MODULE.Go1PushMidCfg
