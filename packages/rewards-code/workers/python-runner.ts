/**
 * Runs inside the interpreter: the program, then its function once for each list of arguments. What the function gives is written to descriptor 2 as data; what it prints as errors joins what it prints.
 * A program could write there itself: all that it can say is what its results are, and what they should be is known to nobody in here.
 */
export const pythonRunner = `
import sys
def _espalier():
    import json, math, os
    source, entry, calls = sys.argv[1], sys.argv[2], [json.loads(one) for one in json.loads(sys.argv[3])]
    sys.argv[:] = ['program.py']
    sys.stderr = sys.stdout
    dumps, write = json.dumps, os.write
    def text(error):
        try:
            return (type(error).__name__ + ': ' + str(error))[:200]
        except BaseException:
            return 'it raised an error'
    def encode(value, depth=0):
        if depth > 64:
            raise ValueError('the result is nested too deeply')
        if value is None or value is True or value is False:
            return value
        kind = type(value)
        if kind is int:
            return value if -(2 ** 53) < value < 2 ** 53 else ['bigint', str(value)]
        if kind is float:
            if math.isnan(value):
                return ['number', 'NaN']
            if math.isinf(value):
                return ['number', 'Infinity' if value > 0 else '-Infinity']
            return value
        if kind is str:
            return value
        if kind is list or kind is tuple:
            return ['array'] + [encode(one, depth + 1) for one in value]
        if kind is set or kind is frozenset:
            return ['set'] + [encode(one, depth + 1) for one in value]
        if kind is dict:
            if all(type(key) is str for key in value):
                return ['object'] + [[key, encode(one, depth + 1)] for key, one in value.items()]
            return ['map'] + [['array', encode(key, depth + 1), encode(one, depth + 1)] for key, one in value.items()]
        return ['other']
    def send(result):
        data = (dumps(result) + '\\n').encode()
        while data:
            data = data[write(2, data):]
    scope = {'__name__': '__main__'}
    try:
        exec(compile(source, 'program.py', 'exec'), scope)
        function = scope.get(entry)
        if not callable(function):
            raise NameError(entry + ' is not a function')
    except BaseException as error:
        send({'load': text(error)})
        return
    for arguments in calls:
        try:
            result = {'value': encode(function(*arguments))}
        except BaseException as error:
            result = {'error': text(error)}
        send(result)
_espalier()
`;
