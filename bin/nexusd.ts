#!/usr/bin/env node
import './floor.ts'

const { main } = await import('../daemon/main.ts')
process.exitCode = await main(process.argv.slice(2))
