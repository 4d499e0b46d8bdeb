#!/usr/bin/env python3
"""Prints the lines that a run covered of one file: llvm-cov export -summary-only … | covered.py Folder/File."""
import json
import sys

for file in json.load(sys.stdin)["data"][0]["files"]:
    if file["filename"].endswith(f"{sys.argv[1]}.swift"):
        lines = file["summary"]["lines"]
        print(f"    {sys.argv[1]}.swift: {lines['covered']} of {lines['count']} lines, {lines['percent']:.1f} %")
