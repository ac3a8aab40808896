BOARD_CPU := -mcpu=cortex-m3 -mthumb -mfloat-abi=soft
BOARD_FAMILY := mps2
