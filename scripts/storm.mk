KILLS ?= 10000
SEED  ?= 0

storm: build/storm ## kill processes at random and check the books (make storm KILLS=10000 SEED=1)
	@exec build/storm $(KILLS) $(SEED)

# The core itself, with 20 ms of patience for a process that is stopped inside a section instead of a second.
build/storm: $(wildcard tests/storm/*.c tests/storm/*.h csrc/*.c csrc/*.h)
	@mkdir -p build
	@gcc -std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -pthread -DSHMC_POINTS -DPATIENCE_NS=20000000ull -o $@ $(filter %.c,$^)

.PHONY: storm

MODE   ?= kill
STRIDE ?= 1
FIRST  ?= 1

points: build/points ## kill or stop a process at every store (make points MODE=kill|reaper|pair|stop STRIDE=37)
	@exec build/points $(MODE) $(STRIDE) $(FIRST)

build/points: tests/crash/points.c $(wildcard csrc/*.c csrc/*.h)
	@mkdir -p build
	@gcc -std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -pthread -DSHMC_POINTS -DPATIENCE_NS=20000000ull -o $@ $(filter %.c,$^)

.PHONY: points
