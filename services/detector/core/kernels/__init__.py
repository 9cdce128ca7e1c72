"""The loops over calls, compiled by numba; each has a twin in `twins` that says the same in plain Python and numpy.

Signatures are explicit, so each is compiled once, at import, and kept in numba's cache (NUMBA_CACHE_DIR).
"""
