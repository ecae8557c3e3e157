"""The mathematics: what each architecture computes, and the operations it is made of."""
