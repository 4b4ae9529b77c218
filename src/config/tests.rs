//! What a configuration file may say, and what the answer is when it says something else.
