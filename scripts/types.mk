types: ## check the types of shmchan.js with the TypeScript compiler (needs npm)
	@command -v npm >/dev/null || { echo "shmchan: please install first: sudo apt-get install npm" >&2; exit 1; }
	@[ -x build/types/node_modules/.bin/tsc ] || npm install --silent --no-fund --no-audit --prefix build/types typescript
	build/types/node_modules/.bin/tsc --project tests/types

.PHONY: types
