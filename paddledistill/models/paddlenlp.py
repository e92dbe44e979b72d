"""PaddleNLP's models without the rest of PaddleNLP, whose import takes twice as long again (trainer, task flow, server, ...)."""

import functools
import importlib
import importlib.metadata
import importlib.util
import sys
from types import ModuleType
from typing import Any

from paddledistill import runtime

_NAME = "paddlenlp"


@functools.cache
def paddlenlp_transformers() -> Any:
    """``paddlenlp.transformers``, imported when first needed, its chatter turned off."""
    runtime.load_paddle()
    if _NAME not in sys.modules:
        sys.modules[_NAME] = _package_on_demand()
    importlib.import_module(
        f"{_NAME}.data"
    )  # which imports the models; the other way round their imports form a circle
    importlib.import_module(f"{_NAME}.utils.log").logger.set_level("ERROR")
    return importlib.import_module(f"{_NAME}.transformers")


def _package_on_demand() -> ModuleType:
    """The package ``paddlenlp`` before its ``__init__`` has run: a part is imported when it is asked for, and for a name that is none
    of its parts, such as ``Taskflow``, all of it. Who imports PaddleNLP later notices nothing."""
    spec = importlib.util.find_spec(_NAME)
    assert spec and spec.loader
    loader, package = spec.loader, importlib.util.module_from_spec(spec)

    def on_demand(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if importlib.util.find_spec(f"{_NAME}.{name}"):
            return importlib.import_module(f"{_NAME}.{name}")
        del package.__getattr__
        loader.exec_module(package)
        return getattr(package, name)

    vars(package).update({"__version__": importlib.metadata.version(_NAME), "__getattr__": on_demand})
    return package
