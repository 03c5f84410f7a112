"""`--learner harl`: the user's own HARL, unedited, on any environment of this package.

Sole importer of `harl`. HARL is on no package registry; the adapter was written for PKU-MARL/HARL@d539bad.
"""
