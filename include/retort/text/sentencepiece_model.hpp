#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace retort::detail {

/// Fields of a protocol buffer, one after the other.
class ProtobufFields {
 public:
  struct Field {
    std::uint64_t number = 0;
    std::uint64_t value = 0;      // of a varint
    std::string_view bytes = {};  // of a text or a message
  };

  explicit ProtobufFields(std::string_view bytes) : rest_(bytes) {}

  /// Nothing at the end, or where the bytes are no field.
  [[nodiscard]] std::optional<Field> next() {
    const auto key = varint();
    if (!key) return std::nullopt;
    Field field{.number = *key >> 3};
    std::optional<std::uint64_t> size;
    switch (*key & 7) {
      case 0:
        if (const auto value = varint()) {
          field.value = *value;
          return field;
        }
        return std::nullopt;
      case 1:
        size = 8;
        break;
      case 2:
        size = varint();
        break;
      case 5:
        size = 4;
        break;
      default:
        break;
    }
    if (!size || *size > rest_.size()) return std::nullopt;
    field.bytes = rest_.substr(0, *size);
    rest_.remove_prefix(*size);
    return field;
  }

 private:
  std::string_view rest_;

  std::optional<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (int shift = 0; !rest_.empty() && shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= std::uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }
};

/// What the bytes of a SentencePiece model, a protocol buffer, say of it that the library does not tell.
struct SentencePieceModel {
  bool unigram = true;             ///< trainer_spec.model_type
  bool byte_fallback = false;      ///< trainer_spec.byte_fallback
  std::vector<bool> user_defined;  ///< by id, whether a piece is of type USER_DEFINED
  /// Whether there is a normalizer_spec. It stands behind the pieces: of a file that is cut off between two
  /// pieces the library would make a model of the first ones.
  bool normalizer = false;

  [[nodiscard]] static SentencePieceModel read(std::string_view bytes) {
    SentencePieceModel model;
    ProtobufFields fields(bytes);
    while (const auto field = fields.next()) {
      ProtobufFields inner(field->bytes);
      if (field->number == 1) {
        model.user_defined.push_back(false);
        while (const auto part = inner.next())
          if (part->number == 3) model.user_defined.back() = part->value == 4;
      }
      if (field->number == 2)
        while (const auto part = inner.next()) {
          if (part->number == 3) model.unigram = part->value == 1;
          if (part->number == 35) model.byte_fallback = part->value != 0;
        }
      model.normalizer |= field->number == 3;
    }
    return model;
  }
};

}  // namespace retort::detail
