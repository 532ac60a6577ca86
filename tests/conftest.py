"""What all tests share: how property tests choose their examples."""

import os

from hypothesis import settings

# A change is judged by the same examples every time; on a developer's machine each run tries new
# ones, and what fails there becomes a case of its own.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
