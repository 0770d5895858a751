"""How the demonstration ends: what the person can try next, in commands that work as they stand."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crossport.cli.demo.scene import ALPHA, BETA, VM_NAME
from crossport.cli.demo.voice import Voice

__all__ = ["Closing"]


@dataclass(frozen=True, slots=True)
class Closing:
    """The last words about ``run``, on the site of ``home``."""

    voice: Voice
    home: Path
    run: str
    environment: Mapping[str, str]

    def moved(self, back: str) -> None:
        """The VM has moved; ``back`` is the command that would move it back."""
        self._try(
            "Try next",
            ("what happened, again", f"crossport run report {self.run}"),
            ("the source: off, fenced, kept", f"crossport vm list {ALPHA.cloud}"),
            ("delete it, and move back", f"crossport source retire {self.run} && {back}"),
        )

    def survived(self) -> None:
        """The chaos is over; the VM runs where it was before the last act."""
        self._try(
            "Try next",
            ("the last run: why it was rolled back", f"crossport run report {self.run}"),
            ("what the guest says on its console", f"crossport vm console {BETA.cloud} {VM_NAME}"),
            ("every run of this demonstration", "crossport run list"),
        )

    def failed(self) -> None:
        """Something was not as it must be."""
        self._try(
            "Look closer",
            ("what the run did", f"crossport run report {self.run}"),
            ("what the site wrote", f"less {shlex.quote(str(self.home / 'control' / 'serve.log'))}"),
        )

    def _try(self, heading: str, *rows: tuple[str, str]) -> None:
        self.voice.heading(heading)
        self.voice.commands(
            (
                ("once, so that the commands find the demonstration's site", self._export()),
                *rows,
                ("remove everything that was made", "crossport demo --clean"),
            )
        )

    def _export(self) -> str:
        words = [f"CROSSPORT_HOME={shlex.quote(str(self.home))}"]
        if not self._found():
            words.append(f"PATH={shlex.quote(str(self._folder()))}:$PATH")
        return f"export {' '.join(words)}"

    def _found(self) -> bool:
        return shutil.which("crossport", path=self.environment.get("PATH", os.defpath)) is not None

    def _folder(self) -> Path:
        return Path(sys.executable).parent
