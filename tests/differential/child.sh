# A server on standard input and output for whoever reads a script: it answers every request with all it has heard.
heard=
while IFS= read -r line; do
    heard=${heard:+$heard,}$line
    id=${line#*'"id":'}
    # Notifications have none.
    [ "$id" = "$line" ] && continue
    id=${id%%[,\}]*}
    case $line in
        *'"initialize"'*)
            result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"child","version":"1"}}' ;;
        *)
            result='{"heard":['$heard']}' ;;
    esac
    printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
