# Print each SSH public key of the text, one per line: "type base64 comment". YAML or JSON, folded or not.
{ gsub(/["'] *:/, ": "); gsub(/[]["'{},]|\\n/, " "); for (i = 1; i <= NF; i++) word[++count] = $i }
END {
  for (i = 1; i < count; i++)
    if (word[i] ~ /^(ssh-|ecdsa-|sk-)/ && word[i + 1] ~ /^AAAA/) {
      comment = word[i + 2]
      print word[i] " " word[i + 1] (comment == "" || comment == "-" || comment ~ /:$/ || comment ~ /^ssh-/ ? "" : " " comment)
    }
}
