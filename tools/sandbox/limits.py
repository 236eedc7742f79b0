"""What a session of the sandbox may use."""

from dataclasses import dataclass

from arriero.tools.errors import ToolDefinitionError

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a session may use. Sizes are in bytes, times in seconds.

    Args:
        wall: Wall time of a call.
        cpu: Processor time of a process in a call; its last resort in a life is sixty times that.
        memory: Memory of all processes together, and address space of each.
        tasks: Processes and threads together.
        workspace: Files in the workspace.
        tmp: Files in the temporary folder.
        shm: Shared memory in /dev/shm.
        inodes: Files and folders in each of the three, by number.
        output: What is kept of a call: standard output, standard error, value and error together.
        open_files: Open descriptors of a process.
        frame: One message between the server and the worker.
        figures: Pictures kept of a call, by number.
        figure_bytes: All pictures of a call together.
        files: Entries of a file listing.

    Raises:
        ToolDefinitionError: A limit is not a number above zero.

    Example:
        >>> Limits(wall=2).memory == 1 << 30
        True
    """

    wall: float = 5.0
    cpu: int = 60
    memory: int = 1024 * _MIB
    tasks: int = 64
    workspace: int = 256 * _MIB
    tmp: int = 64 * _MIB
    shm: int = 64 * _MIB
    inodes: int = 16_384
    output: int = _MIB
    open_files: int = 256
    frame: int = 4 * _MIB
    figures: int = 16
    figure_bytes: int = 16 * _MIB
    files: int = 200

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ToolDefinitionError(f"limit {name} of the sandbox is {value!r}; use a number above 0")
