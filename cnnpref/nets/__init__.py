"""Networks: the contract, and what makes one."""
