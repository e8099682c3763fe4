"""The build hook: compiles the CPU backend's C++ ops and puts the library into the wheel.

Without a compiler a wheel is built all the same; its engine computes with the reference ops, and says so.
"""

import importlib.util
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILD_SCRIPT = "engine/pagelet_engine/kernels/cpu/build.py"


class NativeOps(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        spec = importlib.util.spec_from_file_location("pagelet_native_build", Path(self.root) / BUILD_SCRIPT)
        assert spec is not None
        assert spec.loader is not None
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        try:
            script.build_if_stale()
        except script.BuildError as error:
            self.app.display_warning(f"Pagelet's CPU ops were not built, its engine will be slow on a CPU: {error}")
            return
        build_data["artifacts"].append(str(script.LIBRARY.relative_to(self.root)))
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
