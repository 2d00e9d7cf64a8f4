"""Methods that know no physics."""
