#!/usr/bin/env -S node --max-semi-space-size=4
import './floor.ts'

const { main } = await import('../daemon/main.ts')
process.exitCode = await main(process.argv.slice(2))
