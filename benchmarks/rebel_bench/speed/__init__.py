"""Speed, as ratios: ours against plain NumPy and against the peers that are installed, interleaved in one process."""
