"""maskbatch: who wore a mask, where and when, and how sure are we?"""

__version__ = "0.1.0"
