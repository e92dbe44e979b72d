"""PaddleDistill: fine-tune a teacher, augment the data, distil a small fast student, see what was gained and lost.

Import this package before paddle: importing it sets up threads, the BLAS path and the allocator (see ``runtime``).
"""

from paddledistill import runtime

__version__ = "0.1.0"

runtime.configure()
