"""Operations on a store: inspection, clean-up and diagnosis."""
