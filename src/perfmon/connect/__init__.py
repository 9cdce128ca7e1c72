"""`perfmon connect claude-code`: writes our server, our hooks and the wrapping of chosen servers into Claude Code's files, and
takes them out again.

`jsontext` edits JSON as text, so that nothing but what was asked for changes. `entries` knows what our entries look like, `plan`
decides what to write (pure), `places` where, `manifest` remembers what was written, `apply` writes and undoes.
"""
