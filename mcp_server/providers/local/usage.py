"""What a process takes of the machine, and what the machine has."""

from __future__ import annotations

from pathlib import Path


class ProcessUsage:
    """The memory, processor time and transfers of a process; all are 0 once it is gone.

    Args:
        pid: its number.
    """

    def __init__(self, pid: int) -> None:
        # Where no local model runs, its library need not be installed.
        import psutil

        self._gone = psutil.Error
        try:
            self._process: psutil.Process | None = psutil.Process(pid)
        except psutil.Error:
            self._process = None
        machine = psutil.virtual_memory()
        self.free: int = machine.available
        """How much memory was free, in bytes."""
        self.installed: int = _limited(machine.total)
        """How much memory this machine, or its container, has, in bytes."""
        self.counts_own_memory = "shared" in psutil.Process().memory_info()._fields
        """Whether :attr:`memory` leaves out the pages of files; macOS does not tell them apart."""

    @property
    def memory(self) -> int:
        """The memory that it takes, in bytes."""
        if self._process is None:
            return 0
        try:
            memory = self._process.memory_info()
        except self._gone:
            return 0
        return memory.rss - memory.shared if self.counts_own_memory else memory.rss

    @property
    def processor_seconds(self) -> float:
        """How long it has computed."""
        if self._process is None:
            return 0.0
        try:
            return sum(self._process.cpu_times()[:2])
        except self._gone:
            return 0.0

    @property
    def transferred(self) -> int:
        """How much it has read and written, in bytes; 0 where the system does not say."""
        if self._process is None or not hasattr(self._process, "io_counters"):
            return 0
        try:
            return sum(self._process.io_counters()[2:])
        except self._gone:
            return 0


def _limited(installed: int) -> int:
    try:
        most = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return installed
    return min(installed, int(most)) if most.isdigit() else installed
