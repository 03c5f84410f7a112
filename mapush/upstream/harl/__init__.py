"""`--learner harl`: the user's own, unmodified HARL, on any environment of this package.

Only this folder imports `harl`. HARL is on no package registry; the adapter was written for PKU-MARL/HARL@d539bad.
"""
