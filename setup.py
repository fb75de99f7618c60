"""What pyproject.toml cannot say: a built package also has the configs, which are beside it in the repository."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copies configs/ to lt_det/configs; an editable installation uses configs/ itself."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for file in [*Path("configs").rglob("*.yaml"), *Path("configs").rglob("*.py")]:
            copy = Path(self.build_lib, "lt_det", file)
            self.mkpath(str(copy.parent))
            self.copy_file(str(file), str(copy))


setup(cmdclass={"build_py": BuildWithConfigs})
