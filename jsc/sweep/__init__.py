"""A sweep: its plan, its resumption, beginnings that its runs share, its table."""
