"""The gate: a process of its own between producers off the machine and ingest, run only when `ingest_tcp` is set.

CURVE encrypts and authenticates, the key ring says who may connect, and nothing but writes and `ping` gets through. Ingest's own
descriptors, memory and threads never meet a stranger: a flood kills at most the gate (it runs under limits), which ingest starts
again. If it dies nothing that was acknowledged is lost: acknowledgements come from ingest alone, and producers resend.
"""
