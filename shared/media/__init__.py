"""Pictures and clips: which format a file has, what its headers say, and whether an input fits the rules.

Headers are read forwards and nothing is decoded; no size that a file states is believed.
"""
