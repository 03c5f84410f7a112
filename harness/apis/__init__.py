"""Views: environments with other interfaces than HARL's, presented in HARL's form so that the contracts can judge them.

No module here imports the library of an interface: an environment is recognised by what it has.
"""
