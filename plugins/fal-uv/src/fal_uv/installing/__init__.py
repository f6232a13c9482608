"""Installing: from requirements and indexes to packages in a target, and pins of them."""
