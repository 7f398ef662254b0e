"""Is a challenger better? The comparison, the policy, the decision and the model card."""
