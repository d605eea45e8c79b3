"""From a config to layer x unit x method, their files and what they take."""
