"""The program that computes: one model, loaded by transformers, in a process of its own.

The server imports none of it.
"""
