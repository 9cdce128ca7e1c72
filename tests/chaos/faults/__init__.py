"""What the cases of faults share: small disks that fill up, damaged files, services whose calls fail or whose clock jumps."""
