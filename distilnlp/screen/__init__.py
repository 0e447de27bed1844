"""What a person sees of long work: lines, warnings, and how far it is; on a terminal, in a file, or as JSON.

Code that works says what it does through `logging` and `progress`; which screen shows it is decided once, by `use`.
"""

from distilnlp.screen.bar import Bar, as_time
from distilnlp.screen.choice import MODES, Mode, current, hush_libraries, use
from distilnlp.screen.progress import open_step, progress
from distilnlp.screen.screens import Screen

__all__ = ["MODES", "Bar", "Mode", "Screen", "as_time", "current", "hush_libraries", "open_step", "progress", "use"]
