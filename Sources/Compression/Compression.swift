// The page of this module is being written.
