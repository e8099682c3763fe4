"""How much of anything one request may ask for, whatever the model. Tighter bounds may come with the model."""

MAX_BODY_BYTES = 8 * 2**20
MAX_PROMPTS = 256  # prompts of one completions request
MAX_CHOICES = 512  # prompts × n of one request: each is a sample in an engine
MAX_N = 128
MAX_STOP_STRINGS = 32
MAX_STOP_CHARACTERS = 1024  # of one stop string
MAX_STOP_TOKEN_IDS = 256
MAX_LOGIT_BIAS = 1024
MAX_TOP_LOGPROBS = 20
MAX_NAME_CHARACTERS = 256  # model, user, role, …
MAX_CACHE_SALT_CHARACTERS = 128
MAX_TOKENS = 2**31 - 1  # of a field that counts tokens; the model's length is checked where the model is known
