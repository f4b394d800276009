"""Videos: frames with exact times, and where reading can be continued."""
