"""How much of anything one request may ask for, whatever the model. Tighter bounds may come with the model."""

MAX_BODY_BYTES = 8 * 2**20
MAX_MESSAGES = 16_384  # of one conversation
MAX_CONTENT_PARTS = 16_384  # of one message
MAX_DOCUMENTS = 1024
MAX_TEMPLATE_VARIABLES = 256  # of chat_template_kwargs
MAX_STREAM_OPTIONS = 16
MAX_TOKEN_IDS = 2**20  # of one detokenization
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
MAX_PROMPT_LOGPROBS = 2**20
"""Log probabilities of prompts in one answer: prompt tokens × choices that show them × alternatives. As JSON each takes
some 40 bytes."""
MAX_ECHO_CHARACTERS = 16 * 2**20  # of prompts that an answer repeats, in all choices together
MAX_TOKENS = 2**31 - 1  # of a field that counts tokens; the model's length is checked where the model is known
